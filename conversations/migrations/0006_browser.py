import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('conversations', '0005_desk'),
    ]

    operations = [
        migrations.AddField(
            model_name='route',
            name='vision',
            field=models.BooleanField(db_default=False, default=False, help_text='The model takes images.'),
        ),
        migrations.CreateModel(
            name='Upload',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=43, unique=True)),
                ('kind', models.CharField(choices=[('image', 'Picture'), ('document', 'Document')], max_length=8)),
                ('name', models.CharField(max_length=120)),
                ('media_type', models.CharField(max_length=100)),
                ('size', models.PositiveBigIntegerField()),
                ('width', models.PositiveIntegerField(blank=True, null=True)),
                ('height', models.PositiveIntegerField(blank=True, null=True)),
                ('sender', models.CharField(max_length=32)),
                ('created_at', models.DateTimeField()),
                ('message', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='uploads', to='conversations.message')),
                ('pipeline', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='conversations.pipeline')),
            ],
            options={
                'default_permissions': (),
                'indexes': [models.Index(condition=models.Q(('message__isnull', True)), fields=['sender', 'size'], name='upload_waiting'), models.Index(condition=models.Q(('message__isnull', True)), fields=['created_at'], name='upload_old')],
            },
        ),
        migrations.CreateModel(
            name='Feedback',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('value', models.CharField(choices=[('up', 'Helpful'), ('down', 'Not helpful')], max_length=8)),
                ('created_at', models.DateTimeField()),
                ('updated_at', models.DateTimeField()),
                ('message', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='feedback', to='conversations.message')),
                ('session', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='feedback', to='conversations.chatsession')),
            ],
            options={
                'default_permissions': (),
                'indexes': [models.Index(fields=['session', 'value'], name='feedback_session')],
            },
        ),
    ]
